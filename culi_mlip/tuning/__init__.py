"""The tuning of potentials for error and inference time: study, workers, trials, timing."""
