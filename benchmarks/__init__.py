"""The engine beside what a user would pick instead: the same inputs, in turns, whole processes.

    python -m benchmarks --quick      small inputs and quick peers: about a minute
    python -m benchmarks --list       rows and contestants, and what is not installed for them
    python -m benchmarks --row join --report report.md
    python -m benchmarks --growth tasks shapes
    python -m benchmarks --profile word_count
    make bench                        all of it, with the extra `benchmarks`: hours

`rows` is the table of what is run, `jobs` has the engine's jobs and `peers` the others' programs, each as its own
documentation would have it. `inputs` makes what they read, `contest` runs a row in turns, `measure` measures one
process with all that it starts, `digests` tells whether results are equal, `report` writes it down, and `profiles` says
where the engine's time goes.

How the engine's cost grows is in `growth` (what a curve is, and how it is run), `growth_curves` (all of them),
`growth_inputs`, `growth_report`, and `run_job`, the program that runs their jobs; `coordinator_scale` has a simulated
cluster, which `growth_simulated` reports.
"""
