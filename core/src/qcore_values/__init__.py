"""How arguments and results travel: types, tags, MessagePack, annotations."""

import qcore  # noqa: F401 - first, because it imports this package, whose errors are qcore's
