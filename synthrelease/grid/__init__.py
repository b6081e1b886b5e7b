"""The whole study: every combination of data set, generator, segmenter and training set as a job, run and compared."""
