"""What any training needs, whatever it trains: checkpoints, averages, a log, processes and requests to stop."""
