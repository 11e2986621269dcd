"""`mapreduce check`: what can be known of a job before the long run, from a sample of its input.

Owns the trials of a job on a sample, here and in other processes, and what is told of them: what fails, which laws are
broken, what results depend on that they must not, and what the whole run will take. Writes no output and starts no
cluster. `api` has what programs call, `checks` the whole of it.
"""
