"""The built-in plugin: the serializer `msgpack` and the reporter `log`."""
