"""Jobs to start from. They travel in the wheel as `mapreduce.demos`; `mapreduce run @word_count ...` finds them."""
