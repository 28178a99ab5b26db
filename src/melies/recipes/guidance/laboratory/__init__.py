"""Every way of guiding and every schedule on mixtures whose tilted density is known exactly."""
