"""What clients read before they ask: versions, discovery, OpenAPI."""
