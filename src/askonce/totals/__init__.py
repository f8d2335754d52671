"""What all processes that share a store have counted: by hour, layer, model, tenant and tag, and durable."""
