"""From bytes to bytes: calls, WebRTC, encoding, pacing, HTTP.

Logic without input or output (mailbox, viewpoint_inbox, pacer, rate_control, keyframes,
effort_policy, call_state, offer, messages) lives in modules of its own that take the time as an
argument. The drivers around it are render_loop (threads), encoder and track (video), peer, caller
and receiver (WebRTC), signalling and app (HTTP), server (the process).
"""
