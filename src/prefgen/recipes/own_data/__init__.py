"""`prefgen train --people`: a finished model trained on with the people of a folder (`docs/train_on_your_data.md`)."""
