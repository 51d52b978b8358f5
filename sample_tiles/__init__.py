"""Small synthetic scenes, labels and a class table, drawn by `make.py`; installed as `geounet_sample_tiles`."""
