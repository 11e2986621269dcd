"""How what a careful attempt is at work on is numbered: one series for each kind, so that no two share an ordinal."""

SERIES = 1 << 60  # ordinals of one series: more records than any task can read; all series fit 64 bits
TABLE = SERIES  # the first ordinal of the records of a broadcast input; those of the task itself begin at 0
COMBINING = 2 * SERIES  # of the calls of a combiner
FOLDING = 3 * SERIES  # of the keys that an aggregator folds in a map task: values of many records, none to put aside
