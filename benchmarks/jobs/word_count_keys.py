from mapreduce import Count, Job

job = Job(keys=str.split, reducer=Count())
