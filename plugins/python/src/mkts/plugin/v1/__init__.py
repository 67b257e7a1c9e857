"""The messages between server and plugin, generated from plugins/proto by `generate.py`."""
