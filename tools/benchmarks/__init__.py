"""The benchmarks of ``python run.py bench``: one file each, with one public function that returns its figures."""
