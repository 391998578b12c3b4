"""What batch size and learning rate do to a model, and which to use: a lab notebook that is also a library"""

__version__ = "0.1.0"
