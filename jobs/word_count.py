"""Count words: word -> how often it stands in the input."""

from mapreduce import Count, Job

job = Job(keys=str.split, reducer=Count())
