"""Single flight in a process, leases among processes, drivers and background work."""
