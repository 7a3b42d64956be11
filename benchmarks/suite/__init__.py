"""What `haven bench` measures, and the process that measures it; what the figures mean is decided in ``haven/benchmarking``."""
