"""One trainer for any job: configuration, runner, loop, records, checkpoints."""
