"""What the framework costs, as ratios of figures taken side by side: ``python -m benchmarks``."""
