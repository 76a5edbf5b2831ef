"""What serializers share: which values travel, and in what form."""
