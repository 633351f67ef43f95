"""The whole chain on published weights, learned from a folder of people (`prefgen train --preset NAME --people`)."""
