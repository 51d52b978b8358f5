"""The loop: batches made ready, epochs run, and what an interruption leaves."""
