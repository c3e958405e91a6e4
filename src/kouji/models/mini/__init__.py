"""`mini`: the small model Kouji ships; speaker encoder, text-to-mel, vocoder."""
