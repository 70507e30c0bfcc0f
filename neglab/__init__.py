"""neglab: out-of-distribution detection with vision-language models and negative labels."""

__version__ = "0.1.0"
