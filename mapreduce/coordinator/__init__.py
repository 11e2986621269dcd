"""The control plane's centre: who runs what, what is committed, and what is known to be lost.

`state_machine.Coordinator` is pure: events in, journal entries and messages out. `server.CoordinatorServer` is the
shell around it: sockets, journal and blobs. Nothing here imports the data plane, or unpickles.
"""
