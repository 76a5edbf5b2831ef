"""How arguments and results travel: types, tags, MessagePack, annotations."""
