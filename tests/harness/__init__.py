"""What the interoperability and fault tests share: brokers, clients, the raw protocol. Start in broker.py."""
