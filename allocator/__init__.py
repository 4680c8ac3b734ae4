"""Who gets what: resources, shares and the allocator actor."""
