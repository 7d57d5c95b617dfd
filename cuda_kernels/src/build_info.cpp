// What the loader asks before it calls anything: data only, so that no instruction of a foreign machine runs.
#ifndef VISAVIS_FINGERPRINT
  #define VISAVIS_FINGERPRINT ""
#endif
#ifndef VISAVIS_NEEDS
  #define VISAVIS_NEEDS ""
#endif

extern "C" {
extern const char visavis_fingerprint[64];
extern const char visavis_needs[512];
const char visavis_fingerprint[64] = VISAVIS_FINGERPRINT;
const char visavis_needs[512] = VISAVIS_NEEDS;
}
