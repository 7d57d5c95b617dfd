"""A WHIP caller and a WHEP receiver made of GStreamer's webrtcbin, for the system's Python:

    python3 gstreamer_client.py receive http://127.0.0.1:8080/whep/CALL SECONDS [H264|VP8]
    python3 gstreamer_client.py send    http://127.0.0.1:8080/whip      SECONDS [H264|VP8]

A caller prints the name of its call, and both at the end what they saw, each as a line of JSON.
Nothing of this project is needed.
"""

from __future__ import annotations

import json
import sys
import threading
import urllib.error
import urllib.request

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

SENDING = {
    "VP8": "vp8enc deadline=1 target-bitrate=800000 keyframe-max-dist=2000 ! rtpvp8pay",
    "H264": "openh264enc bitrate=800000 gop-size=2000 ! h264parse config-interval=-1 "
    "! rtph264pay aggregate-mode=zero-latency",
}
DECODERS = {"VP8": "rtpvp8depay ! vp8dec", "H264": "rtph264depay ! h264parse ! openh264dec"}
CAPS = "application/x-rtp,media=video,encoding-name={codec},payload=96,clock-rate=90000"
PARAMETERS = {"VP8": "", "H264": ",packetization-mode=(string)1,profile-level-id=(string)42e01f"}


class Client:
    """One webrtcbin, signalled with one POST of a complete offer."""

    def __init__(self, url: str, codec: str, sending: bool) -> None:
        self.url = url
        self.codec = codec
        self.loop = GLib.MainLoop()
        self.seen = {"state": "", "frames": 0, "width": 0, "height": 0, "error": ""}
        self.location = ""
        caps = CAPS.format(codec=codec)
        if sending:
            # A grey wall is a fit picture for an engine that looks at brightness alone.
            source = "videotestsrc is-live=true pattern=solid-color foreground-color=0xffb4b4b4 "
            source += "! video/x-raw,width=320,height=240,framerate=15/1,format=I420"
            self.pipeline = Gst.parse_launch(
                f"webrtcbin name=rtc bundle-policy=max-bundle {source} "
                f"! {SENDING[codec]} pt=96 ! {caps} ! rtc.sink_0"
            )
            self.rtc = self.pipeline.get_by_name("rtc")
            transceiver = self.rtc.emit("get-transceiver", 0)
            transceiver.set_property("direction", GstWebRTC.WebRTCRTPTransceiverDirection.SENDONLY)
        else:
            self.pipeline = Gst.Pipeline.new("receiver")
            self.rtc = Gst.ElementFactory.make("webrtcbin", "rtc")
            self.rtc.set_property("bundle-policy", GstWebRTC.WebRTCBundlePolicy.MAX_BUNDLE)
            self.pipeline.add(self.rtc)
            transceiver = self.rtc.emit(
                "add-transceiver",
                GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY,
                Gst.Caps.from_string(caps + PARAMETERS[codec]),
            )
            self.rtc.connect("pad-added", self._pad_added)
        transceiver.set_property("do-nack", True)
        self.rtc.connect("on-negotiation-needed", self._offer)
        self.rtc.connect("notify::ice-gathering-state", self._gathered)
        self.rtc.connect("notify::connection-state", self._state)
        bus = self.pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message::error", self._error)

    def run(self, seconds: float) -> None:
        self.pipeline.set_state(Gst.State.PLAYING)
        GLib.timeout_add(int(seconds * 1000), self.loop.quit)
        self.loop.run()
        self.pipeline.set_state(Gst.State.NULL)
        if self.location:
            request = urllib.request.Request(self.location, method="DELETE")
            with urllib.request.urlopen(request, timeout=10) as answer:
                self.seen["deleted"] = answer.status
        print(json.dumps(self.seen))

    def _error(self, _bus: object, message: Gst.Message) -> None:
        self.seen["error"] = str(message.parse_error())
        self.loop.quit()

    def _offer(self, _rtc: object) -> None:
        promise = Gst.Promise.new_with_change_func(self._offered)
        self.rtc.emit("create-offer", None, promise)

    def _offered(self, promise: Gst.Promise) -> None:
        promise.wait()
        reply = promise.get_reply()  # owns the offer
        offer = reply.get_value("offer")
        self.rtc.emit("set-local-description", offer, Gst.Promise.new())

    def _gathered(self, *_: object) -> None:
        done = GstWebRTC.WebRTCICEGatheringState.COMPLETE
        if self.rtc.get_property("ice-gathering-state") == done and not self.location:
            threading.Thread(target=self._exchange, daemon=True).start()

    def _exchange(self) -> None:
        offer = self.rtc.get_property("local-description").sdp.as_text()
        self.seen["offer"] = offer
        request = urllib.request.Request(
            self.url, offer.encode(), {"Content-Type": "application/sdp"}, method="POST"
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                text = answer.read().decode()
                location = answer.headers["Location"]
                if call := answer.headers["Visavis-Call"]:
                    print(json.dumps({"call": call}), flush=True)
        except urllib.error.HTTPError as error:
            self.seen["error"] = f"{error.code} {error.read().decode()}"
            GLib.idle_add(self.loop.quit)
            return
        self.seen["answer"] = text
        self.location = "/".join(self.url.split("/")[:3]) + location
        _, parsed = GstSdp.SDPMessage.new_from_text(text)
        answer = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, parsed)
        self.rtc.emit("set-remote-description", answer, Gst.Promise.new())

    def _state(self, *_: object) -> None:
        self.seen["state"] = self.rtc.get_property("connection-state").value_nick
        print(self.seen["state"], file=sys.stderr, flush=True)

    def _pad_added(self, _rtc: object, pad: Gst.Pad) -> None:
        if pad.get_direction() != Gst.PadDirection.SRC:
            return
        decoder = Gst.parse_bin_from_description(
            f"{DECODERS[self.codec]} ! videoconvert ! video/x-raw,format=GRAY8 "
            "! appsink name=out emit-signals=true sync=false max-buffers=2 drop=true",
            True,
        )
        decoder.get_by_name("out").connect("new-sample", self._sample)
        self.pipeline.add(decoder)
        decoder.sync_state_with_parent()
        pad.link(decoder.get_static_pad("sink"))

    def _sample(self, sink: Gst.Element) -> Gst.FlowReturn:
        sample = sink.emit("pull-sample")
        size = sample.get_caps().get_structure(0)
        buffer = sample.get_buffer()
        data = buffer.extract_dup(0, buffer.get_size())
        width, height = size.get_value("width"), size.get_value("height")
        self.seen["frames"] += 1
        self.seen["width"], self.seen["height"] = width, height
        stride = len(data) // height
        middle = data[height // 2 * stride :][:width]
        light = [column for column, value in enumerate(middle) if value > 130]
        self.seen["bar"] = sum(light) / len(light) / width if light else None
        return Gst.FlowReturn.OK


def main() -> None:
    Gst.init(None)
    kind, url, seconds, *codec = sys.argv[1:]
    Client(url, (codec or ["VP8"])[0], sending=kind == "send").run(float(seconds))


if __name__ == "__main__":
    main()
