"""The page of `gpujob report`: one HTML file without scripts and without addresses."""
