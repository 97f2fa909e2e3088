"""rathole with the Noise protocol between its halves, which needs no certificate in its own format."""

from systems import rathole

NEEDS = ["rathole"]


def start(stage, path, name="rathole_tls"):
    # One-sided authentication would need the server's key; without it the pattern encrypts the same way.
    noise = '{side}.transport]\ntype = "noise"\n[{side}.transport.noise]\npattern = "Noise_NN_25519_ChaChaPoly_BLAKE2s"\n'
    server, client = ("[" + noise.format(side=side) for side in ("server", "client"))
    return rathole.start(stage, path, name, server, client)
