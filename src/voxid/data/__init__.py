"""Speech as training sees it: prepared folders, stored features, triplets. Only `batches` needs torch."""
