"""What runs a network over a scene: how, in which blocks, on which workers, and what a crash leaves."""
