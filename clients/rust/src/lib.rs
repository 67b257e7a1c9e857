//! Wire protocol of MarketStore (MessagePack and JSON datasets) and a blocking client.
