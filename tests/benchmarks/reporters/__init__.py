"""What error reporters, traces and metrics cost, beside the same cluster without them."""
