"""Deterministic tiny-weight rule used by the Pyramid Flow goldens (own code, no reference code).

For every entry of a module's state dict EXCEPT the computed table `pos_embed.pos_embed`
(SD3-type only; keep the value the module computes itself):

    seed  = zlib.crc32((salt + ":" + key).encode("utf-8"))          # unsigned 32 bit
    z     = numpy.random.RandomState(seed).standard_normal(shape)   # float64, C order (legacy, frozen stream)
    ndim >= 2                       -> w = z * gain / sqrt(prod(shape[1:]))
    ndim == 1, key ends ".weight"   -> w = 1 + 0.1 * z              # norm scales
    ndim == 1, otherwise            -> w = 0.05 * z                 # biases
    w is cast to float32
`salt` and `gain` are given in each golden's JSON.
"""

import zlib

import numpy as np
import torch

SKIP = ("pos_embed.pos_embed",)


def rule_tensor(key, shape, salt, gain=1.0):
    seed = zlib.crc32((salt + ":" + key).encode("utf-8")) & 0xFFFFFFFF
    z = np.random.RandomState(seed).standard_normal(tuple(shape))
    if len(shape) >= 2:
        fan_in = int(np.prod(shape[1:]))
        w = z * (gain / np.sqrt(fan_in))
    elif key.endswith(".weight"):
        w = 1.0 + 0.1 * z
    else:
        w = 0.05 * z
    return torch.from_numpy(np.ascontiguousarray(w.astype(np.float32)))


def apply_rule(module, salt, gain=1.0):
    sd = module.state_dict()
    new = {}
    for k, v in sd.items():
        new[k] = v if k in SKIP else rule_tensor(k, v.shape, salt, gain)
    module.load_state_dict(new, strict=True)
    return module


def fingerprint(module):
    out = {}
    for k, v in sorted(module.state_dict().items()):
        d = v.detach().double().flatten()
        out[k] = {
            "shape": list(v.shape),
            "sum": float(d.sum()),
            "abs_sum": float(d.abs().sum()),
            "head": [float(x) for x in d[:3]],
        }
    return out
