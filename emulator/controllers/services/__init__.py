"""What Services lead to: EndpointSlices and Endpoints, made from pods or mirrored."""
