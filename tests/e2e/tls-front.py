"""A TLS server that passes everything on to a port of this machine: tls-front.py CERTIFICATE KEY UPSTREAM-PORT PORT-FILE."""

import asyncio
import os
import ssl
import sys


async def pump(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def main(certificate, key, upstream, port_file):
    async def serve(reader, writer):
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", int(upstream))
        await asyncio.gather(pump(reader, up_writer), pump(up_reader, writer))

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = await asyncio.start_server(serve, "localhost", 0, ssl=context)
    with open(port_file + ".tmp", "w") as file:
        print(server.sockets[0].getsockname()[1], file=file)
    os.rename(port_file + ".tmp", port_file)
    await server.serve_forever()


asyncio.run(main(*sys.argv[1:]))
