"""The kernels: splatting of Gaussian discs, colour conversion; reference.py says it in torch."""
