"""The kernels of Visavis: splatting of Gaussian discs and colour conversion, each beside a plain torch reference."""
