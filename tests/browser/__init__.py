"""The pages in a real Chromium, on real servers, with a real worker process behind them."""
