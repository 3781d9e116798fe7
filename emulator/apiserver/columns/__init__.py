"""What `kubectl get` prints, kind by kind."""
