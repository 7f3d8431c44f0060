"""Use a trained network: classify pictures, export it, or train one on arrays as a scikit-learn estimator.

Read `trained_network`, `pictures`, `prediction`, `estimator`, `export`. Imports `training` and `store`, and
their imports.
"""
