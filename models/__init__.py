"""From a picture to a picture: cameras, portrait, lifter, Gaussians, refiner, engine.

No sockets and no asyncio here.
"""
