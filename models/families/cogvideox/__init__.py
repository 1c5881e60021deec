"""CogVideoX by THUDM, and CogVideoX-Fun by aigc-apps."""
