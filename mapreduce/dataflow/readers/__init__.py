"""The records of splits, in every format of inputs."""
