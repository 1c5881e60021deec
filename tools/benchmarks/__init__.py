"""The benchmarks of ``python run.py bench``: one file each, one public function each, from nothing to figures."""
